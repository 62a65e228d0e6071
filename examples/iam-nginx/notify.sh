#!/bin/sh
# One line in the system's log for each change; put the call of your cloud's API or of your pager here.
exec logger --tag mainstay "vip front on $(hostname): $1"
