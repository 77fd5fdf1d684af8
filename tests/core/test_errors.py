# SPDX-License-Identifier: Apache-2.0
import pytest

from hamid.core import errors
from hamid.core.errors import GpuLost, HamiError, KubeletFailed, NvmlFailed, UsageError

CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HamiError)]


def test_an_error_has_a_message_and_a_hint():
    """The message is the exception's text too, and a hint may be empty."""
    error = UsageError("what", "what to do")
    assert (str(error), error.message, error.hint) == ("what", "what", "what to do")
    assert UsageError("what").hint == ""


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        ("", "nvmlInit failed: Unknown Error (NVML 999)"),
        ("GPU 0", "nvmlInit on GPU 0 failed: Unknown Error (NVML 999)"),
    ],
)
@pytest.mark.parametrize("kind", [NvmlFailed, GpuLost])
def test_an_nvml_error_names_function_code_and_gpu(kind, gpu, message):
    """Programs read its parts, people the message."""
    error = kind("nvmlInit", 999, "Unknown Error", gpu=gpu, hint="h")
    assert (error.message, error.hint) == (message, "h")
    assert (error.function, error.code, error.text, error.gpu) == ("nvmlInit", 999, "Unknown Error", gpu)


def test_a_kubelet_that_does_not_know_a_method_is_told_apart():
    """Only such an error says that the method does not exist."""
    assert KubeletFailed("what", "h", unimplemented=True).unimplemented
    error = KubeletFailed("what", "h")
    assert (error.message, error.hint, error.unimplemented) == ("what", "h", False)


def test_the_documented_tree_is_the_real_one():
    """Every class stands in the module's text, below the class that it is derived from."""
    lines = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    above: list[str] = []
    found = {}
    for line in lines:
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        above[depth:] = [name]
        found[name] = above[depth - 1] if depth else "Exception"
    wanted = {each.__name__: each.__bases__[0].__name__ for each in CLASSES}
    wanted.pop("Interrupted")
    assert found == wanted
