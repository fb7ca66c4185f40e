"""The reference model: replays traversals against a document and gives verdicts."""
