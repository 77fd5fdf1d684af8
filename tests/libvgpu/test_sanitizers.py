# SPDX-License-Identifier: Apache-2.0
"""The whole library, hooks too, in one program with a client under gcc's sanitizers: no bad access, no race."""

import subprocess
from pathlib import Path

import pytest
from support import REPOSITORY, cudatools

PROGRAMS = Path(__file__).parent / "programs"
LIBRARY = REPOSITORY / "native" / "libvgpu"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
INCLUDES = [f"-I{LIBRARY}", f"-I{LIBRARY.parent / 'include'}"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Makes such a program; each one once."""
    made = {}

    def build(client, sanitizer):
        if (client, sanitizer) not in made:
            folder = tmp_path_factory.mktemp("sanitized")
            made[client, sanitizer] = folder / client
            cc = ["cc", *FLAGS, f"-fsanitize={sanitizer}"]
            # One folder of objects for each folder of sources: files of different folders may have the same name.
            for sources in (LIBRARY, *(each for each in LIBRARY.iterdir() if each.is_dir())):
                objects = folder / "objects" / sources.name
                objects.mkdir(parents=True)
                subprocess.run([*cc, *WARNINGS, *INCLUDES, "-c", *sorted(sources.glob("*.c"))], check=True, cwd=objects)
            subprocess.run([*cc, *INCLUDES, "-c", PROGRAMS / "sanitized.c"], check=True, cwd=folder)
            # Only here: see sanitized.c.
            resolve = folder / "objects/hooks/resolve.o"
            subprocess.run(["objcopy", "--localize-symbol=dlsym", resolve], check=True)
            source: list[str | Path] = [PROGRAMS / f"{client}.c", "-Ddlsym=sanitized_dlsym"]
            declared: list[str | Path] = ["-include", PROGRAMS / "sanitized.h"]
            compiled = sorted(folder.rglob("*.o"))
            subprocess.run(
                [*cc, *declared, *source, *compiled, "-o", client, "-pthread", "-ldl"], check=True, cwd=folder
            )
        return made[client, sanitizer]

    return build


def run(program, place, *words, **more):
    """It succeeded and printed something; a finding of a sanitizer ends a program."""
    environment = cudatools.environment(place.state, **{**place.environment, **more})
    del environment["LD_PRELOAD"]
    # Leaks are the driver's or the client's: libvgpu never calls malloc.
    environment["ASAN_OPTIONS"] = "detect_leaks=0"
    done = subprocess.run(
        [program, *map(str, words)], env=environment, input="\n\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


SANITIZERS = ["address,undefined", pytest.param("thread", marks=pytest.mark.full)]


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_every_family_and_failures_of_it(built, container, sanitizer):
    """Taken and given back, and with each third call of the driver failing once."""
    program, place = built("families", sanitizer), container(100)
    expected, counted, left = run(program, place)
    assert (expected, left) == (counted, "0")
    for number in range(2, 72, 3):
        expected, counted, left = run(program, place, HAMI_SIM_FAULTS=f"cu*#{number}=error:999")
        assert (expected, left) == (counted, "0"), number


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize(
    "family", ["linear", "managed", "pitch", "async", "pool", "keeping", "physical", "array", "mipmap", "graph"]
)
def test_eight_threads_race_for_a_family(built, container, sanitizer, family):
    """All of the limit and no more, in one process."""
    taken, wrong = run(built("racing", sanitizer), container(64), family, 8)
    assert int(taken) == (32 if family in {"physical", "graph"} else 64)
    assert wrong == "0"
