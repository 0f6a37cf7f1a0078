"""What a turn costs over the whole HTTP path: ours, beside what a user would pick instead (`python -m bench.cost`)."""
