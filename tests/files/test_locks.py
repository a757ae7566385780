"""Locks on directories say who holds them, and refuse with a sentence."""

import errno
import gc
import json
import os
import subprocess
import sys
import threading

import pytest

from tf_lottery.files import locks

HOLDER = """
import os, sys, time
from tf_lottery.files import locks
lock = locks.Lock(sys.argv[1])
lock.acquire()
if sys.argv[2:]:
    # A child that goes on with the open file, as workers for data do.
    if os.fork() == 0:
        os.close(1)
        time.sleep(600)
    print(os.getpid(), flush=True)
    os._exit(0)
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def holder(path):
    """Starts another process that holds the lock."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path, *arguments],
            stdout=subprocess.PIPE, start_new_session=True,
        )
        started.append(process)
        pid = int(process.stdout.readline())
        if arguments:
            # It ends at once; its child goes on.
            process.wait()
        return pid

    yield start
    for process in started:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


def is_free(path):
    code = (
        "import sys; from tf_lottery.files import locks; "
        "locks.Lock(sys.argv[1]).acquire()"
    )
    return not subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True
    ).returncode


def test_a_lock_says_who_holds_it(path):
    lock = locks.Lock(path)
    lock.acquire()
    found = json.loads(path.read_text())
    assert found["pid"] == os.getpid() and found["host"] and found["since"]
    lock.release()
    assert path.read_text() == ""
    lock.release()


@pytest.mark.slow
def test_another_process_is_named(path, holder):
    pid = holder()
    with pytest.raises(locks.InUseError, match=f"process {pid} on host"):
        locks.Lock(path).acquire()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc")
def test_a_lock_of_a_dead_process_is_taken_over(path, holder):
    """Also where a child of it keeps the file open."""
    holder("fork")
    lock = locks.Lock(path)
    lock.acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.some(1)
@pytest.mark.parametrize("change", [
    {"host": "elsewhere"}, {"system": "another"}, {"system": None},
])
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc")
def test_only_a_process_known_to_be_dead_is(path, holder, change):
    holder("fork")
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | change))
    with pytest.raises(locks.InUseError):
        locks.Lock(path).acquire()


def test_another_host_that_gave_nothing_back_is_named(path):
    lock = locks.Lock(path)
    lock.acquire()
    found = json.loads(path.read_text())
    lock.release()
    path.write_text(json.dumps(found | {"host": "elsewhere"}))
    with pytest.warns(UserWarning, match="host 'elsewhere'.*stop one"):
        lock.acquire()
    lock.release()


@pytest.mark.parametrize("content", [
    "", "{", "[]", "null", '{"pid": 1}', "\xff\xfe", '{"host": 3}' * 999,
])
def test_any_content_is_survived(path, content):
    path.write_text(content, encoding="latin-1")
    lock = locks.Lock(path)
    lock.acquire()
    lock.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EIO])
def test_no_locks_is_not_in_use(number, path, monkeypatch):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "_lock", fail)
    with pytest.raises(OSError, match="cannot be locked.*file system") as error:
        locks.Lock(path).acquire()
    assert error.value.errno == number


def test_two_threads(path):
    lock, found = locks.Lock(path), []

    def work():
        try:
            locks.Lock(path).acquire()
        except locks.InUseError as error:
            found.append(str(error))

    lock.acquire()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "thread 'MainThread' of this process" in found[0]
    lock.release()


@pytest.mark.slow
def test_what_a_failed_fit_left_behind_is_taken_over(path):
    first, second = locks.Lock(path), locks.Lock(path)
    first.acquire()
    second.acquire()
    first.release()
    assert not is_free(path)
    second.release()


@pytest.mark.slow
def test_a_lock_that_is_forgotten_is_given_back(path):
    locks.Lock(path).acquire()
    gc.collect()
    assert is_free(path)


def test_a_link_is_not_followed(path, tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    path.symlink_to(other)
    with pytest.raises(OSError):
        locks.Lock(path).acquire()
    assert other.read_text() == "precious"


def test_a_lock_that_is_replaced_meanwhile(path, monkeypatch):
    """Whoever took over has removed the file that is open here."""
    real, calls = locks._lock, []

    def lock(descriptor):
        real(descriptor)
        if not calls:
            path.unlink()
        calls.append(1)

    monkeypatch.setattr(locks, "_lock", lock)
    first = locks.Lock(path)
    first.acquire()
    assert len(calls) == 2 and path.exists()
    first.release()
