"""Events become frames, frames become traversals and journeys."""
