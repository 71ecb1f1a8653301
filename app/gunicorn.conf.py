"""How gunicorn serves the app. WEB_CONCURRENCY sets the number of worker processes."""

import os

from vote import logs

bind = f"0.0.0.0:{os.environ.get('PORT', '8080')}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 8

# The app is loaded before the port opens: one that cannot start is never taken for one that serves.
preload_app = True

# Heartbeats go to memory: the root file system is read-only.
worker_tmp_dir = "/dev/shm"

# One request a connection. A connection that is kept open may get its next request in the moment in which the worker
# shuts down, and that request would be lost.
keepalive = 0

# After SIGTERM, what has begun may end. Kubernetes' grace period is longer than this.
graceful_timeout = 20

logconfig_dict = logs.config(os.environ.get("LOG_LEVEL", "info"))
