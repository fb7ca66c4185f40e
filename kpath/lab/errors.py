"""What can go wrong in the lab, each as one sentence that says what is wrong and what to do."""

from __future__ import annotations


class LabError(Exception):
    """Base of everything that the lab raises on purpose."""


class UnknownScenarioError(LabError, LookupError):
    """There is no scenario, theme or namespace of this name."""


class LabSetupError(LabError):
    """A network cannot be made on this machine, or another lab is at work."""


class TrafficError(LabError):
    """The traffic did not do what it is meant to do."""
