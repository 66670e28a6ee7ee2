#!/bin/sh
# env.sh of a release with nodes @alive@@ADDRESS: name, port and address are found out on the host where it starts.
# Rendered by epmdless @version@. To do: save it as rel/env.sh.eex and build the release; or append it to that file.
# Look:  epmdless env --app @app@ --port @port@
PATH="$PATH:/opt/epmdless/bin"

# In two steps: a failure in `eval "$(…)"` would go unnoticed, and the node would start under a wrong name.
variables="$(epmdless env --app @app@ --port @port@)" || exit 2
eval "$variables"
