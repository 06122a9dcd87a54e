#!/bin/sh
# An environment for the benchmarks beside other packages, .venv-peers: it sees the packages of the project's own
# environment (VENV, by default .venv), and adds the peers without theirs, so that all run on one torch.
#   tests/benchmarks/peers.sh
set -e
cd "$(dirname "$0")/../.."
VENV=${VENV:-.venv}
"$VENV/bin/python" -m venv .venv-peers
site() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
site "$VENV" > "$(site .venv-peers)/project.pth"
.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
    multivae==1.0.3 pythae==0.1.2 multiviewae==1.1.8 hydra-core==1.3.2 omegaconf==2.3.0 \
    antlr4-python3-runtime==4.9.3 schema==0.7.7 cloudpickle==3.1.1 nltk==3.9.1 \
    braindecode==1.8.1 skorch torchinfo docstring_inheritance tabulate disent==0.8.0
