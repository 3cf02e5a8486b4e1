"""Secrets of the containers, and what `init` prepares in them."""

from catalog.mutants.guard import Guard

WITH_SECRETS, SECRETS, INIT = (
    "catalog/containers/with_secrets.py",
    "catalog/containers/secrets.py",
    "catalog/containers/bootstrap.py",
)
CONTAINERS, TEST_SECRETS = "local/test_containers.py", "local/test_container_secrets.py"
ANY_PASSWORD = f"{CONTAINERS}::test_what_a_container_is_given_means_the_same_with_any_password"

GUARDS = (
    Guard(
        name="passwords-in-addresses",
        holds="Any character of a password is itself in the address of a connection.",
        row=41,
        file=WITH_SECRETS,
        find='    "url": lambda text: quote(text, safe=""),\n',
        replace='    "url": str,\n',
        tests=(ANY_PASSWORD,),
    ),
    Guard(
        name="passwords-in-json",
        holds="Any character of a password is itself in a connection that is JSON.",
        row=41,
        file=WITH_SECRETS,
        find='    "json": lambda text: json.dumps(text)[1:-1],\n',
        replace='    "json": str,\n',
        tests=(ANY_PASSWORD,),
    ),
    Guard(
        name="secrets-that-are-missing",
        holds="A container without a secret that it needs says which.",
        row=33,
        file=WITH_SECRETS,
        find="    except OSError as error:\n        raise NoSecretError(",
        replace="    except ZeroDivisionError as error:\n        raise NoSecretError(",
        tests=(f"{CONTAINERS}::test_the_entrypoint_names_a_secret_that_is_missing",),
    ),
    Guard(
        name="mode-of-env",
        holds="`.env` is readable by its owner only, wherever it came from.",
        row=33,
        file=SECRETS,
        find="        env.chmod(0o600)\n",
        replace="        pass\n",
        tests=(f"{TEST_SECRETS}::test_a_copied_template_is_closed",),
    ),
    Guard(
        name="folder-of-secrets",
        holds="Nobody else on the machine gets to the files of the secrets.",
        row=33,
        file=SECRETS,
        find="    folder.chmod(0o700)\n",
        replace="    folder.chmod(0o755)\n",
        tests=(f"{TEST_SECRETS}::test_they_are_made_once",),
    ),
    Guard(
        name="secrets-that-are-there",
        holds="A secret that is there is never made anew.",
        row=33,
        file=SECRETS,
        find="        if not (folder / name).exists():\n",
        replace="        if True:\n",
        tests=(f"{TEST_SECRETS}::test_what_is_there_stays_whatever_it_is",),
    ),
    Guard(
        name="keys-for-tasks-only",
        holds="Keys reach the containers that run tasks and no others.",
        row=33,
        file=SECRETS,
        find='        return "tasks.json"\n',
        replace='        return "settings.json"\n',
        tests=(f"{TEST_SECRETS}::test_entries_go_to_those_who_need_them",),
    ),
    Guard(
        name="logins-of-init",
        holds="A volume that another version made is named with the command that carries it over.",
        row=37,
        file=INIT,
        find="        except psycopg.OperationalError as error:\n",
        replace="        except ZeroDivisionError as error:\n",
        tests=(
            "local/test_container_databases.py::test_an_older_volume_is_carried_over_with_all_that_is_in_it",
        ),
        seconds=120,
    ),
    Guard(
        name="newer-airflow-database",
        holds="A database that a newer Airflow has upgraded is refused with the way back.",
        row=37,
        file=INIT,
        find='        if "Can\'t locate revision" not in str(error):\n            raise\n',
        replace="        raise\n",
        tests=(f"{CONTAINERS}::test_a_newer_airflow_database_is_refused_with_the_way_back",),
        seconds=240,
    ),
)
