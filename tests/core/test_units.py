# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.errors import UsageError
from hamid.core.units import MAX_MEMORY_MIB, Memory, format_mib, parse_memory


@pytest.mark.parametrize(
    ("text", "mib"),
    [("8000", 8000), ("8Gi", 8192), ("1.5Gi", 1536), ("8G", 7630), ("1Ti", 1048576), ("1M", 1), ("512MiB", 512)],
)
def test_sizes_mean_what_kubernetes_means_by_them(text, mib):
    """Binary and decimal units are told apart, and a fraction of a MiB is rounded up, never down."""
    assert parse_memory(text) == Memory(mib=mib)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "-1",
        "+5",
        "8 Gi",
        "8gi",
        "abc",
        "1e9",
        "0x10",
        "0%",
        "101%",
        "1.5%",
        "%",
        "8Gi%",
        "٨",
        "9" * 16,
        "1.Gi",
        ".5Gi",
        "999999999999999Ti",
        "nan",
        "inf",
    ],
)
def test_anything_else_is_refused_with_the_legal_spellings(text):
    """Hostile or mistyped amounts are errors with a hint, never read as something else."""
    with pytest.raises(UsageError) as caught:
        parse_memory(text)
    assert caught.value.hint


@given(st.integers(1, MAX_MEMORY_MIB))
def test_a_bare_number_is_itself(mib):
    """A number of MiB survives parsing unchanged over the whole legal range."""
    assert parse_memory(str(mib)).of(1) == mib


@given(st.integers(1, 100), st.integers(1, 300_000))
def test_a_percentage_is_at_least_that_share(percent, total):
    """A percentage of a GPU is rounded up to the next MiB, so a share never comes out smaller than asked."""
    share = parse_memory(f"{percent}%").of(total)
    assert share * 100 >= total * percent > (share - 1) * 100


@pytest.mark.parametrize(("memory", "text"), [(Memory(mib=8000), "8000 MiB"), (Memory(percent=50), "50%")])
def test_an_amount_is_shown_with_its_unit(memory, text):
    """People read MiB or percent, as it was asked."""
    assert str(memory) == text


@pytest.mark.parametrize(("mib", "text"), [(9856, "9856 MiB"), (0, "0 MiB"), (None, "unknown")])
def test_a_size_is_shown_or_is_unknown(mib, text):
    """No memory and memory that the driver does not tell are different things."""
    assert format_mib(mib) == text
