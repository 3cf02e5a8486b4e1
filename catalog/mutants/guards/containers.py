"""Guards of the containers: their secrets, and what `init` prepares."""

from catalog.mutants.guard import Guard

WITH_SECRETS, SECRETS, INIT = (
    "catalog/containers/with_secrets.py",
    "catalog/containers/secrets.py",
    "catalog/containers/bootstrap.py",
)
CONTAINERS, TEST_SECRETS = "local/test_containers.py", "local/test_container_secrets.py"
ANY_PASSWORD = f"{CONTAINERS}::test_settings_of_a_container_are_correct_with_any_password"

GUARDS = (
    Guard(
        name="passwords-in-addresses",
        holds="A password in the address of a connection may have any characters.",
        row=41,
        file=WITH_SECRETS,
        find='    "url": lambda secret: quote(secret, safe=""),\n',
        replace='    "url": str,\n',
        tests=(ANY_PASSWORD,),
    ),
    Guard(
        name="passwords-in-json",
        holds="A password in a connection that is JSON may have any characters.",
        row=41,
        file=WITH_SECRETS,
        find='    "json": lambda secret: json.dumps(secret)[1:-1],\n',
        replace='    "json": str,\n',
        tests=(ANY_PASSWORD,),
    ),
    Guard(
        name="secrets-that-are-missing",
        holds="A container that lacks a secret names it.",
        row=33,
        file=WITH_SECRETS,
        find="        except OSError as error:\n            raise MissingSecret(",
        replace="        except ZeroDivisionError as error:\n            raise MissingSecret(",
        tests=(f"{CONTAINERS}::test_the_entrypoint_names_a_secret_that_is_missing",),
    ),
    Guard(
        name="mode-of-env",
        holds="`.env` is made readable by its owner only.",
        row=33,
        file=SECRETS,
        find="        env.chmod(0o600)\n",
        replace="        pass\n",
        tests=(f"{TEST_SECRETS}::test_a_copied_template_is_closed",),
    ),
    Guard(
        name="folder-of-secrets",
        holds="The folder of the secrets is accessible to its owner only.",
        row=33,
        file=SECRETS,
        find="    folder.chmod(0o700)\n",
        replace="    folder.chmod(0o755)\n",
        tests=(f"{TEST_SECRETS}::test_they_are_made_once",),
    ),
    Guard(
        name="secrets-that-are-there",
        holds="An existing secret is never replaced.",
        row=33,
        file=SECRETS,
        find="        if not (folder / name).exists():\n",
        replace="        if True:\n",
        tests=(f"{TEST_SECRETS}::test_existing_secrets_stay",),
    ),
    Guard(
        name="keys-for-tasks-only",
        holds="Only containers that run tasks get API keys.",
        row=33,
        file=SECRETS,
        find='        return "tasks.json"\n',
        replace='        return "settings.json"\n',
        tests=(f"{TEST_SECRETS}::test_entries_go_to_the_services_that_need_them",),
    ),
    Guard(
        name="logins-of-init",
        holds="For a volume of an earlier version, the refusal names the command that migrates it.",
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
        holds="A database that a newer Airflow has upgraded is refused with the command that downgrades it.",
        row=37,
        file=INIT,
        find='        if "Can\'t locate revision" not in str(error):\n            raise\n',
        replace="        raise\n",
        tests=(f"{CONTAINERS}::test_a_newer_airflow_database_is_refused_with_the_command_to_downgrade",),
        seconds=240,
    ),
)
