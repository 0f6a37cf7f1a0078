"""The systems that are measured: one module each, with `open_system(settings)` as described in bench/cost/worker.py."""
