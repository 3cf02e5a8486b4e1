"""Guards of settings, connections, the local stack, and the maintenance DAGs."""

from catalog.mutants.guard import Guard

VALUES, VARIABLES, SLACK = (
    "catalog/core/setting.py",
    "catalog/dags/common/variables.py",
    "catalog/dags/operators/slack.py",
)
CONNECTIONS, LEASE = "catalog/core/connections.py", "catalog/ingestion/lease.py"
SUPERVISOR, RESTARTS, STACK = (
    "catalog/local/supervisor.py",
    "catalog/local/restarts.py",
    "catalog/local/stack.py",
)
REVIEWS, LOGS = "catalog/maintenance/reviews.py", "catalog/maintenance/logs.py"
STAGING, TEST_STAGING = "catalog/maintenance/staging.py", "maintenance/test_staging.py"
MALFORMED = "dags/test_malformed_settings.py"

GUARDS = (
    Guard(
        name="settings-that-cannot-be-read",
        holds="A setting that cannot be read counts as its default.",
        row=41,
        file=VALUES,
        find='            return self.value, f"{problem} Until it is corrected, {self._instead}."\n',
        replace="            raise\n",
        tests=(f"{MALFORMED}::test_a_malformed_setting_is_named_and_replaced",),
    ),
    Guard(
        name="malformed-entries",
        holds="A malformed entry of a setting is ignored; the others count.",
        row=41,
        file=VALUES,
        find="                except msgspec.ValidationError as error:\n                    problems",
        replace="                except ZeroDivisionError as error:\n                    problems",
        tests=(f"{MALFORMED}::test_one_bad_entry_affects_no_other",),
    ),
    Guard(
        name="patterns-of-settings",
        holds="An invalid regular expression is found when the setting is read, not when it is used.",
        row=41,
        file=VALUES,
        find='        _check_pattern(self.task_id_pattern or "")\n',
        replace="        pass\n",
        tests=(f"{MALFORMED}::test_one_bad_entry_affects_no_other",),
    ),
    Guard(
        name="settings-of-dag-files",
        holds="A malformed Variable does not fail the parsing of a DAG file.",
        row=41,
        file=VARIABLES,
        find="    return _noted(setting, *quietly(setting))\n",
        replace="    return msgspec_of(setting)\n\n\ndef msgspec_of(setting: Any) -> Any:\n"
        "    import json\n\n    text = Variable.get(setting.name, default=None)\n"
        "    return setting.value if text is None else json.loads(text)\n",
        tests=(f"{MALFORMED}::test_every_dag_file_parses_whatever_is_set",),
        seconds=120,
    ),
    Guard(
        name="alerts-of-a-malformed-override",
        holds="An alert is sent even if the Variable that allows it is malformed.",
        row=41,
        file=SLACK,
        find="override or bool(problem_2 and message.alert)",
        replace="override",
        tests=(f"{MALFORMED}::test_alerts_go_out_while_slacks_own_variables_are_malformed",),
    ),
    Guard(
        name="alerts-never-fail",
        holds="A message that cannot be sent does not fail a task.",
        row=41,
        file=SLACK,
        find="    except Exception as error:  # the webhook",
        replace="    except ZeroDivisionError as error:  # the webhook",
        tests=(f"{MALFORMED}::test_no_webhook_fails_a_task",),
    ),
    Guard(
        name="keepalives",
        holds="An idle connection is kept alive through firewalls, and a dead one is noticed.",
        row=42,
        file=CONNECTIONS,
        find="        **ALIVE,\n",
        replace="",
        tests=("database/test_connections.py::test_every_extra_that_libpq_knows_is_passed_on",),
    ),
    Guard(
        name="a-lost-connection",
        holds="A lease and a rate limit reconnect when they lose their connection.",
        row=42,
        file=CONNECTIONS,
        find="            if not (connection.closed or connection.broken):\n                raise\n",
        replace="            raise\n",
        tests=(
            "ingestion/test_lease.py::test_a_lost_connection_ends_no_pull",
            "ingestion/test_rate.py::test_a_lost_connection_ends_no_pull",
        ),
    ),
    Guard(
        name="a-server-that-restarts",
        holds="A connection to a database that is still restarting is retried.",
        row=42,
        file=CONNECTIONS,
        find="                if time.monotonic() > deadline:\n                    raise\n",
        replace="                raise\n",
        tests=("database/test_connections.py::test_a_lost_connection_is_reopened",),
    ),
    Guard(
        name="fence-of-a-lease",
        holds="A lease that a newer attempt has taken stops the older one, even after a reconnect.",
        row=42,
        file=LEASE,
        find="        if renewed.rowcount != 1:\n",
        replace="        if renewed.rowcount > 1:\n",
        tests=("ingestion/test_lease.py::test_a_newer_attempt_is_noticed_on_a_new_connection",),
    ),
    Guard(
        name="leases-of-failed-pulls",
        holds="Leases of pulls that have failed permanently are removed.",
        row=42,
        file=LEASE,
        find="        self._delete_expired()\n",
        replace="",
        tests=("ingestion/test_lease.py::test_leases_of_pulls_that_failed_for_good_go",),
    ),
    Guard(
        name="pauses-that-grow",
        holds="A part that keeps ending is restarted after growing pauses.",
        row=43,
        file=RESTARTS,
        find="min(FIRST_PAUSE * 2.0 ** min(part.ends - 1, 30), LONGEST_PAUSE)",
        replace="FIRST_PAUSE",
        tests=("local/test_restarts.py::test_pauses_grow_until_a_part_is_given_up",),
    ),
    Guard(
        name="parts-that-stayed-up",
        holds="A part that ends now and then does not stop the stack.",
        row=43,
        file=RESTARTS,
        find="part.ends == 0 or stable",
        replace="part.ends == 0",
        tests=("local/test_restarts.py::test_a_part_that_stayed_up_is_not_given_up",),
    ),
    Guard(
        name="a-database-that-crashes",
        holds="The stack restarts a database that has ended.",
        row=43,
        file=SUPERVISOR,
        find="        if POSTGRES in due:\n",
        replace="        if False:\n",
        tests=("local/test_restarts.py::test_a_database_that_crashes_is_started_again",),
        seconds=120,
    ),
    Guard(
        name="stacks-of-tests",
        holds="A stack of the tests ends with the tests.",
        row=43,
        file=SUPERVISOR,
        find="        if self._tied and select.select(",
        replace="        if not self._tied and select.select(",
        tests=("local/test_stack.py::test_a_stack_of_tests_ends_with_the_tests",),
        seconds=240,
    ),
    Guard(
        name="locks-follow-no-link",
        holds="The lock of a port is not opened through a symbolic link.",
        row=43,
        file=STACK,
        find=" | os.O_NOFOLLOW",
        replace="",
        tests=("local/test_restarts.py::test_locks_of_ports_follow_no_link",),
    ),
    Guard(
        name="locks-in-a-private-folder",
        holds="Locks are not created in a folder that others can write.",
        row=43,
        file=STACK,
        find="return folder if private and found.st_uid == os.geteuid() else self.folder",
        replace="return folder",
        tests=("local/test_restarts.py::test_locks_of_ports_follow_no_link",),
    ),
    Guard(
        name="odd-pull-requests",
        holds="A malformed pull request is skipped; the others are reported.",
        row=14,
        file=REVIEWS,
        find="            except ODD as error:\n",
        replace="            except ZeroDivisionError as error:\n",
        tests=("maintenance/test_github.py::test_an_odd_pull_request_affects_no_other",),
    ),
    Guard(
        name="odd-issues",
        holds="An issue that cannot be read is skipped; the others are reported.",
        row=14,
        file="catalog/maintenance/silenced.py",
        find="    except (Fatal, UnexpectedResponse) as error:\n",
        replace="    except ZeroDivisionError as error:\n",
        tests=(
            "maintenance/test_github.py::test_an_unexpected_answer_about_an_issue_affects_only_its_entry",
        ),
    ),
    Guard(
        name="odd-snapshots",
        holds="A snapshot that is in use or missing does not keep others from being deleted.",
        row=14,
        file="catalog/maintenance/snapshots.py",
        find=(
            "        except (faults.InvalidDBSnapshotStateFault, faults.DBSnapshotNotFoundFault) as error:\n"
        ),
        replace="        except ZeroDivisionError as error:\n",
        tests=(f"{TEST_STAGING}::test_odd_snapshots_affect_no_other",),
    ),
    Guard(
        name="staging-without-a-successor",
        holds="Staging is not renamed before the database that replaces it exists.",
        row=44,
        file=STAGING,
        find=(
            "        if not self._is_own(restored):\n"
            '            raise Fatal(f"{self._names.temporary} is not what this run restored, so'
        ),
        replace=(
            "        if restored is self:\n"
            '            raise Fatal(f"{self._names.temporary} is not what this run restored, so'
        ),
        tests=(f"{TEST_STAGING}::test_a_step_is_repeated_at_any_moment",),
        seconds=120,
    ),
    Guard(
        name="old-staging-database",
        holds="The old staging database is deleted only when the restored one has replaced it.",
        row=44,
        file=STAGING,
        find="        if not self._is_own(staging) or self._is_own(old):\n",
        replace="        if staging is self:\n",
        tests=(f"{TEST_STAGING}::test_a_step_is_repeated_at_any_moment",),
        seconds=120,
    ),
    Guard(
        name="names-in-capital-letters",
        holds="Production's database is recognized by its name in upper or lower case.",
        row=41,
        file="catalog/core/setting.py",
        find="getattr(self, field).lower())",
        replace="getattr(self, field))",
        tests=(f"{TEST_STAGING}::test_production_cannot_have_a_role_of_staging",),
    ),
    Guard(
        name="unreadable-logs",
        holds="A folder that cannot be read is skipped; the others are cleaned up.",
        row=14,
        file=LOGS,
        find=(
            '    except OSError as error:\n        log.warning("%s is not deleted: %s", path, error)\n'
            "        return None\n"
        ),
        replace="    except ZeroDivisionError:\n        return None\n",
        tests=("maintenance/test_logs.py::test_a_log_that_cannot_be_read_or_deleted_affects_no_other",),
    ),
    Guard(
        name="report-in-utc",
        holds="A report names the UTC day, whatever the server's time zone.",
        row=19,
        file="catalog/core/dates.py",
        find="    return moment.astimezone(UTC)\n",
        replace="    return moment\n",
        tests=(
            "notifications/test_notifications.py::test_the_date_range_is_in_utc",
            "plugins/test_dashboard.py::test_times_are_shown_in_utc",
        ),
    ),
    Guard(
        name="login-below-the-base-url",
        holds="The dashboard redirects a browser to the public address of the login page.",
        row=38,
        file="catalog/plugins/dashboard.py",
        find='f"{base}/api/v2/auth/login?next={back}"',
        replace='f"/auth/login?next={back}"',
        tests=("plugins/test_login.py",),
        seconds=120,
    ),
)
