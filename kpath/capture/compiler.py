"""Makes the program, out of the cache or with BCC, beside the work of attaching: both take seconds on slow machines."""

from __future__ import annotations

import threading

from kpath.capture import cache, program
from kpath.capture.bytecode import extract
from kpath.capture.errors import CaptureSetupError
from kpath.capture.loader import Loaded


class Compiler(threading.Thread):
    """``begin`` when the text is known, ``result`` when the program is needed."""

    def __init__(self, kept: cache.Cache | None = None) -> None:
        super().__init__(daemon=True, name="kpath-compile")
        self._kept = kept or cache.Cache()
        self._importing: threading.Thread | None = None
        self._source = ""
        self._perf = False
        self._loaded: Loaded | None = None
        self._error: Exception | None = None
        if not self._kept.used():
            # BCC will be needed, and importing it takes as long as reading the kernel's symbols: do both at once.
            self._importing = threading.Thread(target=_import_quietly, daemon=True)
            self._importing.start()

    def begin(self, source: str, perf: bool = False) -> None:
        """``perf``: BCC itself must read the perf buffer, so its own map is used, and nothing is kept."""
        self._source, self._perf = source, perf
        self.start()

    def run(self) -> None:
        """In the thread."""
        try:
            self._loaded = self._make()
        except Exception as error:
            self._error = error

    def result(self) -> Loaded:
        """The program; raises CaptureSetupError."""
        self.join()
        if self._error:
            raise self._error
        assert self._loaded is not None
        return self._loaded

    def _make(self) -> Loaded:
        name = "" if self._perf else cache.key(self._source, program.FLAGS, program.headers())
        if code := self._kept.get(name):
            return Loaded(code)
        if self._importing:
            self._importing.join()
        bpf = program.compile_program(self._source)
        code = extract(bpf)
        if self._perf:
            return Loaded(code, {"events": bpf["events"].map_fd}, bpf)
        bpf.cleanup()
        self._kept.put(name, code)
        return Loaded(code)


def _import_quietly() -> None:
    # The same import is made again where its failure is reported.
    try:
        program.import_bcc()
    except CaptureSetupError:
        return
