"""Networks and traffic made to order: every documented step of a packet's path can be seen taken here (docs/lab.md)."""
