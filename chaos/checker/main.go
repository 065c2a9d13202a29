// Judges histories of a chaos run: is there an order of the requests, each between its call and its return, in which a
// register and a thing with a number of uses would have given these very answers?
//
//	checker HISTORY.jsonl [PICTURE.html]
//
// Exit status: 0 linearizable, 1 not (the keys are named, the picture shows the first), 3 not decided in time, 2 other errors.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// patience is for one key.
const patience = 60 * time.Second

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: checker HISTORY.jsonl [PICTURE.html]"))
	}
	histories, err := read(os.Args[1])
	if err != nil {
		fail(err)
	}
	operations, wrong, undecided := 0, []string{}, []string{}
	for _, key := range sorted(histories) {
		history := porcupined(settle(histories[key]))
		operations += len(histories[key])
		switch porcupine.CheckOperationsTimeout(model, history, patience) {
		case porcupine.Illegal:
			wrong = append(wrong, key)
		case porcupine.Unknown:
			undecided = append(undecided, key)
		}
	}
	fmt.Printf("%d keys, %d operations\n", len(histories), operations)
	switch {
	case len(wrong) > 0:
		fmt.Printf("not linearizable: %v\n", wrong)
		show(porcupined(settle(histories[wrong[0]])))
		os.Exit(1)
	case len(undecided) > 0:
		fmt.Printf("not decided within %v: %v\n", patience, undecided)
		os.Exit(3)
	}
	fmt.Println("linearizable")
}

// read gives the operations by key.
func read(path string) (map[string][]operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	histories := map[string][]operation{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var op operation
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		histories[op.Key] = append(histories[op.Key], op)
	}
	return histories, lines.Err()
}

// porcupined is the history as the library takes it. What may still take effect returns after everything else.
func porcupined(history []operation) []porcupine.Operation {
	var operations []porcupine.Operation
	for _, op := range history {
		back := op.Return
		if back < 0 {
			back = 1 << 62
		}
		operations = append(operations, porcupine.Operation{ClientId: op.Client, Input: op, Output: op, Call: op.Call, Return: back})
	}
	return operations
}

func sorted(histories map[string][]operation) []string {
	keys := make([]string, 0, len(histories))
	for key := range histories {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// show prints the history of a key in the order of calls, and draws it if a file is named.
func show(history []porcupine.Operation) {
	sort.Slice(history, func(i, j int) bool { return history[i].Call < history[j].Call })
	for _, each := range history {
		op := each.Input.(operation)
		fmt.Printf("%12.3f ms  %12.3f ms  client %d  %s\n", ms(op.Call), ms(op.Return), op.Client, op)
	}
	if len(os.Args) > 2 {
		_, info := porcupine.CheckOperationsVerbose(model, history, patience)
		if err := porcupine.VisualizePath(model, info, os.Args[2]); err != nil {
			fail(err)
		}
	}
}

func ms(nanoseconds int64) float64 { return float64(nanoseconds) / 1e6 }

func fail(err error) {
	fmt.Fprintln(os.Stderr, "checker:", err)
	os.Exit(2)
}
