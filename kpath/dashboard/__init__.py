"""The live view: a thread aggregates and publishes frozen snapshots, the terminal only draws them."""
