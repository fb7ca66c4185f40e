"""From a probe plan to events, and the capture file that keeps them."""
