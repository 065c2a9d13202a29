package main

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

func linearizable(history ...operation) bool {
	var operations []porcupine.Operation
	for _, op := range history {
		back := op.Return
		if back < 0 {
			back = 1 << 62
		}
		operations = append(operations, porcupine.Operation{Input: op, Output: op, Call: op.Call, Return: back})
	}
	return porcupine.CheckOperations(model, operations)
}

func write(call, back int64, cas uint64, value, outcome string) operation {
	return operation{Action: "cas", Cas: cas, Version: cas + 1, Value: value, Call: call, Return: back, Outcome: outcome}
}

func reading(call, back int64, version uint64, value string) operation {
	return operation{Action: "read", Version: version, Value: value, Call: call, Return: back, Outcome: "ok"}
}

func use(call, back int64, outcome string) operation {
	return operation{Action: "use", Call: call, Return: back, Outcome: outcome}
}

func TestVerdicts(t *testing.T) {
	made := operation{Action: "make", Limit: 1, Call: 0, Return: 1, Outcome: "ok"}
	token := operation{Action: "make", Limit: -1, Call: 0, Return: 1, Outcome: "ok"}
	revoked := operation{Action: "revoke", Call: 2, Return: 3, Outcome: "ok"}
	for name, test := range map[string]struct {
		want    bool
		history []operation
	}{
		"what was written is read":            {true, []operation{write(0, 1, 0, "a", "ok"), reading(2, 3, 1, "a")}},
		"a stale read":                        {false, []operation{write(0, 1, 0, "a", "ok"), reading(2, 3, 0, "")}},
		"old after new while it is written":   {false, []operation{write(0, 9, 0, "a", "ok"), reading(1, 2, 1, "a"), reading(3, 4, 0, "")}},
		"an unknown write that is seen late":  {true, []operation{write(0, -1, 0, "a", "unknown"), reading(2, 3, 0, ""), reading(5, 6, 1, "a")}},
		"an unknown write, seen, then undone": {false, []operation{write(0, -1, 0, "a", "unknown"), reading(2, 3, 1, "a"), reading(5, 6, 0, "")}},
		"two succeed over one version":        {false, []operation{write(0, 5, 0, "a", "ok"), write(1, 6, 0, "b", "ok")}},
		"a refusal that reveals a write":      {true, []operation{write(0, -1, 0, "a", "unknown"), write(2, 3, 0, "b", "refused")}},
		"a refusal for nothing":               {false, []operation{write(2, 3, 0, "b", "refused")}},
		"one use":                             {true, []operation{made, use(2, 5, "ok"), use(3, 6, "refused")}},
		"two uses of one":                     {false, []operation{made, use(2, 5, "ok"), use(3, 6, "ok")}},
		"a use that may have been":            {true, []operation{made, use(2, -1, "unknown"), use(3, 6, "refused")}},
		"refused although one is left":        {false, []operation{made, use(2, 3, "refused"), use(4, 5, "ok")}},
		"used after it was revoked":           {false, []operation{token, revoked, use(4, 5, "ok")}},
		"used while it is revoked":            {true, []operation{token, revoked, use(2, 5, "ok"), use(2, 6, "refused")}},
	} {
		if got := linearizable(test.history...); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
