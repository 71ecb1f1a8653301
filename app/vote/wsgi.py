"""What gunicorn serves: the app with its settings from the environment."""

import os

from vote.app import create_app
from vote.ballot import Ballot
from vote.settings import Settings

settings = Settings.from_env(os.environ)
app = create_app(settings, Ballot(settings.redis_host, settings.redis_port, settings.redis_password))
