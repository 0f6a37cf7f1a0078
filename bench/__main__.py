"""`python -m bench`: each command runs one measure and prints one Markdown table with its command and date."""

import click

from bench import archive, cold_start, cost, dashboard, growth, imports, jobs, live, memory, partitions, recall, replay


@click.group(help="Measure this project. Progress goes to standard error, the table to standard output.")
def main() -> None:
    """Collect the commands."""


main.add_command(archive.command, "archive")
main.add_command(cost.command, "cost")
main.add_command(cold_start.command, "cold-start")
main.add_command(dashboard.command, "dashboard")
main.add_command(growth.command, "growth")
main.add_command(imports.command, "imports")
main.add_command(live.command, "live")
main.add_command(replay.command, "replay")
main.add_command(jobs.command, "jobs")
main.add_command(partitions.command, "partitions")
main.add_command(recall.command, "recall")
main.add_command(memory.command, "memory")

if __name__ == "__main__":
    main(prog_name="python -m bench")
