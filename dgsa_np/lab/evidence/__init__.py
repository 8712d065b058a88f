"""What the gate does, measured: grids of runs, what is measured in each, ten studies, their statistics, a report."""
