"""What the gate does, measured: ten studies, their runs, statistics, and a report."""
