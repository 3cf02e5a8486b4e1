"""The list of guards, by area."""

from catalog.mutants.guards.answers import GUARDS as ANSWERS
from catalog.mutants.guards.dags import GUARDS as DAGS
from catalog.mutants.guards.database import GUARDS as DATABASE
from catalog.mutants.guards.engine import GUARDS as ENGINE
from catalog.mutants.guards.loads import GUARDS as LOADS
from catalog.mutants.guards.operating import GUARDS as OPERATING
from catalog.mutants.guards.pulls import GUARDS as PULLS
from catalog.mutants.guards.refresh import GUARDS as REFRESH
from catalog.mutants.guards.requests import GUARDS as REQUESTS
from catalog.mutants.guards.values import GUARDS as VALUES

GUARDS = (*PULLS, *REQUESTS, *ANSWERS, *VALUES, *LOADS, *DATABASE, *REFRESH, *ENGINE, *DAGS, *OPERATING)
