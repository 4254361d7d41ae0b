"""Law: Ctrl-C during a compilation takes effect after it, as a KeyboardInterrupt; a second Ctrl-C does not wait."""

import os
import signal
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import pytest

from jaxviz.compiling import interrupts
from jaxviz.compiling.jit import jit


@pytest.fixture(autouse=True)
def _as_in_a_terminal():
    """Python's own handler, here and in the processes that are started here.

    Without it, a test run that a shell started in the background would ignore SIGINT.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # the handler runs between two lines of Python


def test_a_first_ctrl_c_waits_for_the_end(capsys):
    finished = False
    with pytest.raises(KeyboardInterrupt), interrupts.held():  # noqa: PT012
        ctrl_c()
        finished = True
    assert finished
    assert interrupts.HELD in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_does_not():
    with pytest.raises(KeyboardInterrupt), interrupts.held():  # noqa: PT012
        ctrl_c()
        ctrl_c()
        pytest.fail("it waited")


def test_without_one_nothing_happens():
    with interrupts.held():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_program_that_handles_sigint_keeps_its_handler():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with interrupts.held():
            ctrl_c()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_in_another_thread_nothing_is_changed():
    results = []
    thread = threading.Thread(target=lambda: results.append(jit()(lambda x: x + 1)(jnp.ones(()))))
    thread.start()
    thread.join()
    assert results == [2]


def test_a_compilation_is_not_interrupted():
    """Ctrl-C comes while the function is traced. It is traced once: its program is there at the second call."""
    traced = []

    @jit()
    def function(x):
        traced.append(x)
        ctrl_c()
        return x + 1

    with pytest.raises(KeyboardInterrupt):
        function(jnp.ones(3))
    assert function(jnp.ones(3)).tolist() == [2, 2, 2]
    assert len(traced) == 1


def test_the_command_ends_with_the_status_of_ctrl_c(tmp_path):
    network = ["vgg16_demo", "--layer", "block3_conv1", "--recipe", "chollet", "--size", "64"]
    command = [sys.executable, "-m", "jaxviz", "filters", *network]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "64 filters" in process.stdout.readline()  # the compilation comes next
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert errors.endswith("jaxviz: stopped\n")
