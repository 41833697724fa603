<?php
error_log("asked for {$_SERVER['REQUEST_URI']}");
echo "PHP ", PHP_VERSION, " at level ", getenv("RUNLEVEL"), "\n";
