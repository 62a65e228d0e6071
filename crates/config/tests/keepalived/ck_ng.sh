#!/bin/bash
# is nginx there?
counter=$(ps -C nginx --no-heading|wc -l)
if [ "${counter}" = "0" ]; then
# try once to start it, then look again after 5 seconds
service nginx start
sleep 5
counter=$(ps -C nginx --no-heading|wc -l)
if [ "${counter}" = "0" ]; then
# not started: end keepalived, so that the other node takes over
service keepalived stop
fi
fi
