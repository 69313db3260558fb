# Reads logs of `ctest -V`, of node:test (TAP) and of scripts/conformance ("server REVISION: N of M required", "client
# ..." alike), and prints "passed failed skipped", counted in test cases. A ctest entry that failed without saying which
# of its cases did (a crash, a time limit, a program that was not built) counts as one failure. A doctest case that
# printed "SKIPPED: reason" returned at once and is counted as skipped, not as passed. Of an entry that ran again only
# the last run counts.
# With -v which=skips it prints the reasons of the skips instead, with which=failed what failed, with which=again what
# passed on a second run only.

{ id = "-"; text = $0 }
match($0, /^[0-9]+: /) { id = substr($0, 1, RLENGTH - 2); text = substr($0, RLENGTH + 1) }

# "    Start  3: test_config"
id == "-" && /^ +Start +[0-9]+: / {
    entry = $2
    sub(/:$/, "", entry)
    delete cases_passed[entry]
    delete cases_failed[entry]
    delete cases_skipped[entry]
    delete marked[entry]
    delete entry_skipped[entry]
    delete entry_passed[entry]
    delete entry_failed[entry]
    for (line in failing) if (index(line, entry SUBSEP) == 1) delete failing[line]
    next
}
text ~ /\[doctest\] test cases:/ {
    split(text, field, /[:|]/)
    cases_passed[id] += field[3] + 0
    cases_failed[id] += field[4] + 0
    next
}
text ~ /SKIPPED: / {
    reason = text
    sub(/.*SKIPPED: /, "", reason)
    reasons[reason]++
    marked[id]++
    next
}
text ~ /^# (pass|fail|cancelled|skipped) [0-9]+$/ {
    split(text, field, " ")
    if (field[2] == "pass") cases_passed[id] += field[3]
    else if (field[2] == "skipped") cases_skipped[id] += field[3]
    else cases_failed[id] += field[3]
    next
}
text ~ /^ *ok .* # SKIP / {
    reason = text
    sub(/.* # SKIP /, "", reason)
    reasons[reason]++
    next
}
text ~ /^ *not ok / { failing[id, text] = 1; next }
text ~ /^TEST CASE: / { named[id] = text; next }
text ~ /: (FATAL )?ERROR: / { failing[id, named[id] ": " text] = 1; next }
id == "-" && /^(server|client) [0-9-]+: [0-9]+ of [0-9]+ required$/ {
    passed += $3
    failed += $5 - $3
    next
}
# "  3/12 Test  #3: test_config ......   Passed    0.42 sec"; a run that is repeated has no "3/12"
id == "-" && /^ *([0-9]+\/[0-9]+ +)?Test +#[0-9]+: / {
    match($0, /#[0-9]+/)
    entry = substr($0, RSTART + 1, RLENGTH - 1)
    name = $0
    sub(/.*#[0-9]+: /, "", name)
    sub(/ .*/, "", name)
    names[entry] = name
    if ($0 ~ /\*\*\*Skipped/) entry_skipped[entry] = 1
    else if ($0 ~ / Passed /) entry_passed[entry] = 1
    else { entry_failed[entry] = 1; failed_once[entry] = 1 }
}

END {
    if (which == "skips") {
        for (reason in reasons) printf "%d x %s\n", reasons[reason], reason
        exit
    }
    if (which == "failed") {
        for (entry in entry_failed) print names[entry]
        for (line in failing) {
            split(line, field, SUBSEP)
            if (field[1] == "-" || field[1] in entry_failed) print "  " names[field[1]] ": " field[2]
        }
        exit
    }
    if (which == "again") {
        for (entry in failed_once) if (entry in entry_passed) print names[entry]
        exit
    }
    for (entry in entry_skipped) skipped++
    for (entry in entry_failed) if (cases_failed[entry] == 0) cases_failed[entry] = 1
    # A program of neither kind, which only has its exit status.
    for (entry in entry_passed)
        if (!(entry in cases_passed) && !(entry in cases_failed)) cases_passed[entry] = 1
    for (entry in marked) {
        skipped += marked[entry]
        cases_passed[entry] -= marked[entry]
        if (cases_passed[entry] < 0) cases_passed[entry] = 0
    }
    for (entry in cases_skipped) skipped += cases_skipped[entry]
    for (entry in cases_passed) passed += cases_passed[entry]
    for (entry in cases_failed) failed += cases_failed[entry]
    printf "%d %d %d\n", passed, failed, skipped
}
