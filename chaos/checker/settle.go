package main

import "sort"

// settle says of requests without an answer what other answers prove, which spares the search two ways for each. Every value is
// written once, and every write makes one version, so
//   - a value that was read was written, as that version, and before the first of these reads returned;
//   - a write over a version whose successor somebody else made never took effect;
//   - of other writes over one version, whose values nobody saw, at most one did, and what it explains the first that was sent
//     explains too; the same goes for blind ones, of which one is enough for each version that nobody else made, and one for a
//     version after all that were seen.
func settle(history []operation) []operation {
	history = append([]operation{}, history...)
	sort.SliceStable(history, func(i, j int) bool { return history[i].Call < history[j].Call })
	made := pin(history)
	blind := unmade(history, made) + 1
	var settled []operation
	for _, op := range history {
		if op.writes() && op.Outcome == "unknown" {
			switch {
			case op.Action == "cas" && made[op.Cas+1], op.Action == "write" && blind == 0:
				continue
			case op.Action == "cas":
				made[op.Cas+1] = true
			default:
				blind--
			}
		}
		settled = append(settled, op)
	}
	return settled
}

// pin gives writes without an answer whose values were read the answer that they must have had. The versions that are made.
func pin(history []operation) map[uint64]bool {
	first := map[string]operation{} // by value: the read of it that returned first
	for _, op := range history {
		if before, ok := first[op.Value]; op.Action == "read" && op.Value != "" && (!ok || op.Return < before.Return) {
			first[op.Value] = op
		}
	}
	made := map[uint64]bool{}
	for i := range history {
		op := &history[i]
		read, ok := first[op.Value]
		if ok && op.writes() && op.Outcome == "unknown" && read.Return >= op.Call {
			op.Outcome, op.Version, op.Return = "ok", read.Version, read.Return
		}
		if op.writes() && op.Outcome == "ok" {
			made[op.Version] = true
		}
	}
	return made
}

// unmade counts the versions, up to the last that somebody saw, that no known write made.
func unmade(history []operation, made map[uint64]bool) int {
	last := uint64(0)
	for _, op := range history {
		last = max(last, op.Version)
	}
	count := 0
	for version := uint64(1); version <= last; version++ {
		if !made[version] {
			count++
		}
	}
	return count
}

func (op operation) writes() bool { return op.Action == "write" || op.Action == "cas" }
