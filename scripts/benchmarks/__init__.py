"""What scripts/bench measures, and by what means. Each module of workloads says what it is about."""
