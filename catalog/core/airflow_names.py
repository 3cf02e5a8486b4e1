"""Names under which tasks leave in Airflow's database what monitoring reads there."""

WATCHER = "watcher"  # the last task of a run, which fails when any other has failed
HELD = "held"  # XCom of the tasks that are skipped because their schedule is held: the reason
FAILURE = "failure"  # XCom of a failed task: why, for people
