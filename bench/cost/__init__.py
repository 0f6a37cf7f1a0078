"""What a turn costs: ours over the whole HTTP path, beside what a user would pick instead (`python -m bench.cost`)."""
