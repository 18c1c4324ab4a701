from .background_run import steer as steer
from .publishing.dataset_folder import publish as publish
