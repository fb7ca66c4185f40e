"""What this kernel is: symbols, BTF, what can be probed and why not."""
