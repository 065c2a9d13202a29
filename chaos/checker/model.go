package main

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// operation is one request, as history.rs writes it.
type operation struct {
	Key     string `json:"key"`
	Action  string `json:"action"`
	Cas     uint64 `json:"cas"`
	Value   string `json:"value"`
	Limit   int64  `json:"limit"`
	Version uint64 `json:"version"`
	Client  int    `json:"client"`
	Call    int64  `json:"call"`
	Return  int64  `json:"return"`
	Outcome string `json:"outcome"`
}

// state is that of a register (version, value) or of a thing with uses (left; -1: any number). A key is one or the other.
type state struct {
	version uint64
	value   string
	left    int64
}

// model is sequential: what one request after the other answers. A request of unknown outcome takes effect if it can; that it
// never did is the same as that it did after everything that was seen.
var model = porcupine.Model{
	Init: func() interface{} { return state{} },
	Step: func(before, input, _ interface{}) (bool, interface{}) {
		return step(before.(state), input.(operation))
	},
	DescribeOperation: func(input, _ interface{}) string { return input.(operation).String() },
}

func step(now state, op operation) (bool, state) {
	unknown := op.Outcome == "unknown"
	switch op.Action {
	case "read":
		return op.Version == now.version && op.Value == now.value, now
	case "write":
		next := state{version: now.version + 1, value: op.Value}
		return unknown || op.Version == next.version, next
	case "cas":
		fits := op.Cas == now.version
		if op.Outcome == "refused" {
			return !fits, now
		}
		if !fits {
			return unknown, now
		}
		next := state{version: now.version + 1, value: op.Value}
		return unknown || op.Version == next.version, next
	case "make":
		return true, state{left: op.Limit}
	case "use":
		some := now.left != 0
		if op.Outcome == "refused" {
			return !some, now
		}
		if !some {
			return unknown, now
		}
		if now.left > 0 {
			now.left--
		}
		return true, now
	case "revoke":
		return true, state{}
	}
	return false, now
}

func (op operation) String() string {
	switch op.Action {
	case "read":
		return fmt.Sprintf("read → version %d %q", op.Version, op.Value)
	case "write":
		return fmt.Sprintf("write %q → %s, version %d", op.Value, op.Outcome, op.Version)
	case "cas":
		return fmt.Sprintf("write %q over version %d → %s", op.Value, op.Cas, op.Outcome)
	case "make":
		return fmt.Sprintf("make with %d uses", op.Limit)
	}
	return fmt.Sprintf("%s → %s", op.Action, op.Outcome)
}
