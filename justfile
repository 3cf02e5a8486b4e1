# list the recipes
default:
    @just --list --unsorted
