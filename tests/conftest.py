"""What must be so before any test module is imported: the first that needs stacks starts Node."""

import os

from stacks.node import node_binary

# cfn-lint reads every template here; CDK's own validation would take most of the time, and runs in
# the one test that starts app.py as people do. jsii's Node reads this when it starts.
os.environ.setdefault("CDK_VALIDATION", "false")
node_binary()
