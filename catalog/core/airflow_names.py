"""Airflow's database: where it is, and the names under which tasks leave in it what monitoring reads."""

ADDRESS = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"  # the environment's variable with its address

WATCHER = "watcher"  # the last task of a run, which fails when any other has failed
HELD = "held"  # XCom of the tasks that are skipped because their schedule is held: the reason
LIMITED = "limited"  # XCom of a task that does only a part, or nothing, because of a Variable: which one
WAITS_FOR = "waits_for"  # XCom of a task that waits for other runs: which they are, for people
FAILURE = "failure"  # XCom of a failed task: why, for people
