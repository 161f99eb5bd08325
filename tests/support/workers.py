"""Run tests in several processes: `-n 3`.

They are forks of one that has collected all tests, so that importing and collecting, which take
longer than most tests, happen once. A worker takes file after file from a queue, so that what the
tests of a file share is made once.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, pairwise
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest

from kernel.embedded import folder

Files = Sequence[Sequence[pytest.Item]]
INDEX_BYTES = 2
SLOW_S = 0.005  # what pytest --durations shows, unless it is told otherwise
_processes = multiprocessing.get_context("fork")


def pytest_addoption(parser: pytest.Parser) -> None:
    meaning = "processes that run tests, file by file; 0: no others than this one"
    # Not `addoption`: letters in lower case are reserved, this one for pytest-xdist.
    parser.getgroup("xdist")._addoption(
        "-n", dest="workers", type=int, default=0, metavar="N", help=meaning
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if not session.config.option.workers or not will_run(session):
        return None
    files = [list(items) for _, items in groupby(session.items, key=lambda item: item.path)]
    queue = FileQueue(len(files))
    workers = [Worker(session, files, queue, ports) for ports in shares_of_ports(session)]
    try:
        report_results(session, queue, workers)
    finally:
        queue.clear()
        for worker in workers:
            worker.process.join()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    return True


def will_run(session: pytest.Session) -> bool:
    """As in pytest's own loop."""
    option = session.config.option
    failed = session.testsfailed and not option.continue_on_collection_errors
    return not (failed or option.collectonly)


def shares_of_ports(session: pytest.Session) -> list[range]:
    """By worker: two that get the same free port start a server there at the same time."""
    count: int = session.config.option.workers
    return [folder.PORTS[number::count] for number in range(count)]


class FileQueue:
    """Numbers of files, in a pipe that all workers read."""

    def __init__(self, count: int) -> None:
        self._reader, writer = os.pipe()
        for number in range(count):
            os.write(writer, number.to_bytes(INDEX_BYTES, "big"))
        os.close(writer)

    def __iter__(self) -> Iterator[int]:
        while number := os.read(self._reader, INDEX_BYTES):
            yield int.from_bytes(number, "big")

    def clear(self) -> None:
        for _ in self:
            pass


class Worker:
    """A process that runs tests, as seen by the one that started it."""

    def __init__(
        self, session: pytest.Session, files: Files, queue: FileQueue, ports: range
    ) -> None:
        self._files, self._config = files, session.config
        self._taken: dict[str, pytest.Item] = {}  # and not yet run
        self.results, sender = _processes.Pipe(duplex=False)
        self.process = _processes.Process(target=work, args=(session, files, queue, sender, ports))
        self.process.start()
        sender.close()  # the worker alone has it, so that its end is seen

    def receive(self) -> list[pytest.TestReport]:
        """Of a test that it has run. Raises EOFError."""
        match self.results.recv():
            case int(number):
                self._taken |= {item.nodeid: item for item in self._files[number]}
                return []
            case nodeid, reports:
                del self._taken[nodeid]
                restore = self._config.hook.pytest_report_from_serializable
                return [restore(config=self._config, data=report) for report in reports]
            case other:
                raise TypeError(other)

    def end(self) -> pytest.TestReport | None:
        """A failed test, if it did not end as it should."""
        self.process.join()
        if not self.process.exitcode and not self._taken:
            return None
        [item, *others] = self._taken.values() or self._files[-1]
        problem = f"A worker ended with {self.process.exitcode}: {len(others)} more did not run"
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", problem, "call")


def report_results(session: pytest.Session, queue: FileQueue, workers: Sequence[Worker]) -> None:
    log = session.config.hook.pytest_runtest_logreport
    running = list(workers)
    while running:
        ready = wait([worker.results for worker in running])
        for worker in [one for one in running if one.results in ready]:
            try:
                reports = worker.receive()
            except EOFError:
                running.remove(worker)
                problem = not session.shouldfail and worker.end()
                reports = [problem] if problem else []
            for report in reports:
                log(report=report)
        if session.shouldfail:
            queue.clear()


def work(
    session: pytest.Session, files: Files, queue: FileQueue, results: Connection, ports: range
) -> None:
    """In the worker: run the tests of file after file. ports: that it gives to servers."""
    config, folder.PORTS = session.config, ports
    become_worker(config)
    config.pluginmanager.register(ResultSender(config, results))
    try:
        for item, after in pairwise(chain(taken(files, queue, results), [None])):
            config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.shouldfail or session.shouldstop:
                break
    finally:
        config.hook.pytest_sessionfinish(session=session, exitstatus=0)
        config._ensure_unconfigure()


def taken(files: Files, queue: FileQueue, results: Connection) -> Iterator[pytest.Item]:
    for number in queue:
        results.send(number)
        yield from files[number]


def become_worker(config: pytest.Config) -> None:
    """Leave the terminal and the cache to the parent, and capture output in files of its own."""
    vars(config)["workerinput"] = {}  # as plugins know it from pytest-xdist
    config.pluginmanager.unregister(name="terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()


class ResultSender:
    """A plugin that sends what its process reports of each test, but for setups that went fast and
    well, which are a third."""

    def __init__(self, config: pytest.Config, results: Connection) -> None:
        self._config, self._results = config, results
        self._reports: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "setup" and report.passed and report.duration < SLOW_S:
            return
        serialize = self._config.hook.pytest_report_to_serializable
        self._reports.append(serialize(config=self._config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._results.send((nodeid, self._reports))
        self._reports = []
