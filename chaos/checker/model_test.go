package main

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/anishathalye/porcupine"
)

// linearizable is what the model says, which must be the same of what is settled.
func linearizable(t *testing.T, history ...operation) bool {
	plain := porcupine.CheckOperations(model, porcupined(history))
	settled := porcupine.CheckOperations(model, porcupined(settle(history)))
	if plain != settled {
		t.Errorf("plain %v, settled %v: %v", plain, settled, history)
	}
	return plain
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
		if got := linearizable(t, test.history...); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A register is used at random: some answers are lost, some writes never take effect, and now and then a read lies.
func TestSettlingChangesNoVerdict(t *testing.T) {
	verdicts := map[bool]int{}
	for seed := range int64(5000) {
		dice := rand.New(rand.NewSource(seed))
		verdicts[linearizable(t, used(dice)...)]++
	}
	if verdicts[true] < 500 || verdicts[false] < 500 {
		t.Errorf("one verdict hardly occurs: %v", verdicts)
	}
}

func used(dice *rand.Rand) []operation {
	var history []operation
	version, value := uint64(0), ""
	for i := range int64(12) {
		at := i * 10 // when it takes effect
		op := operation{Call: at - dice.Int63n(25), Return: at + dice.Int63n(25), Outcome: "ok"}
		lost := dice.Intn(2) == 0
		switch dice.Intn(3) {
		case 0:
			op.Action, op.Version, op.Value = "read", version, value
			if dice.Intn(8) == 0 && len(history) > 0 {
				other := history[dice.Intn(len(history))]
				op.Version, op.Value = other.Version, other.Value
			}
			lost = false
		case 1:
			op.Action, op.Value = "write", fmt.Sprint("v", i)
			if !lost || dice.Intn(2) == 0 {
				version, value = version+1, op.Value
				op.Version = version
			}
		case 2:
			op.Action, op.Value, op.Cas = "cas", fmt.Sprint("v", i), version-min(version, uint64(dice.Intn(2)))
			if op.Cas != version {
				op.Outcome = "refused"
			} else if !lost || dice.Intn(2) == 0 {
				version, value = version+1, op.Value
				op.Version = version
			}
		}
		if lost {
			op.Outcome, op.Version, op.Return = "unknown", 0, -1
		}
		history = append(history, op)
	}
	return history
}
