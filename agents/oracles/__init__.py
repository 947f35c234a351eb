"""What cannot be beaten: exact solvers, for comparison."""
