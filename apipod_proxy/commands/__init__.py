"""The commands of ``apipod-proxy``, a module each; every one has ``run(arguments, environ) -> exit code``."""
