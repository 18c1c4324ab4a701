# What every node's shell needs before `ray` or `steer-batch`; the cluster files source it.
export PATH="$HOME/venv/bin:$PATH"
export RAY_AUTH_MODE=token                       # the token is ~/.ray/auth_token, which the cluster files bring along
export RAY_process_group_cleanup_enabled=true    # an actor that dies takes vLLM's engine along, and frees its GPU
export RAY_USAGE_STATS_ENABLED=0
export OMP_NUM_THREADS=1
export HF_TOKEN_PATH="$HOME/.hf_token"
if [ -z "$HF_HOME" ]; then                       # models: a file system that nodes share, else the node's fastest disk
    [ -w /opt/dlami/nvme ] && export HF_HOME=/opt/dlami/nvme/hf || export HF_HOME="$HOME/hf"
fi
