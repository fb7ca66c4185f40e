"""What can go wrong with a capture file or a filter, each as one sentence for the user."""

from __future__ import annotations


class CaptureError(Exception):
    """Base of everything that reading or writing a capture file raises; ``str()`` is one clear sentence."""


class NotACapture(CaptureError):  # noqa: N818 - read as a sentence: "raise NotACapture"
    """The file is of another kind, or empty."""


class CaptureNewer(CaptureError):  # noqa: N818
    """The file was written by a newer kpath than this one."""


class CaptureTruncated(CaptureError):  # noqa: N818
    """The file ends before its header was whole, so nothing in it can be read.

    A file that ends later is readable and raises nothing: see ``Capture.problem``.
    """


class CaptureDamaged(CaptureError):  # noqa: N818
    """A chunk's checksum, order or content is wrong; ``offset`` is the byte at which the chunk begins."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class CaptureTooLarge(CaptureError):  # noqa: N818
    """The file holds more than the caller allowed to be read into memory at once."""


class CaptureReadError(CaptureError):
    """The operating system refused to open or read the file."""


class CaptureWriteError(CaptureError):
    """A chunk could not be written; what was written before it stays readable."""


class FilterError(Exception):
    """A filter expression that cannot be compiled; ``str()`` says what is wrong and what to do."""


class CaptureSetupError(Exception):
    """Capturing cannot begin on this machine; ``str()`` says why and what to do."""
