"""`python -m agent_worker`."""

from agent_worker.main import main

raise SystemExit(main())
