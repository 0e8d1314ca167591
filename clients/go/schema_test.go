package testcast

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// schemaFields returns the fields of an object of a schema of this repository, by the name of its definition.
func schemaFields(t *testing.T, file, definition string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "broker", "schemas", file))
	if err != nil {
		t.Fatalf("these tests run in the repository: %v", err)
	}
	var schema struct {
		Properties map[string]any `json:"properties"`
		Then       struct {
			Properties map[string]any `json:"properties"`
		} `json:"then"`
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	add := func(properties map[string]any) {
		for name := range properties {
			found[name] = true
		}
	}
	switch {
	case definition == "":
		add(schema.Properties)
		add(schema.Then.Properties)
	case schema.Defs[definition].Properties != nil:
		add(schema.Defs[definition].Properties)
	default:
		add(schema.Components.Schemas[definition].Properties)
	}
	if len(found) == 0 {
		t.Fatalf("%s has no object %q", file, definition)
	}
	return sorted(found)
}

func sorted(names map[string]bool) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// jsonFields returns the fields that encoding/json reads into a struct.
func jsonFields(of reflect.Type, into map[string]bool) {
	for index := range of.NumField() {
		field := of.Field(index)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			jsonFields(field.Type, into)
		case name != "" && name != "-":
			into[name] = true
		}
	}
}

func TestTheFieldsOfEachMessageAreThoseOfItsSchema(t *testing.T) {
	data, _ := reflect.TypeOf(StreamError{}).FieldByName("Data")
	for _, each := range []struct {
		message          any
		file, definition string
		// ours are read from something else than the message: its type is the name of the stream's event.
		without, added []string
	}{
		{Event{}, "event.schema.json", "KnownEvent", nil, nil},
		{RunEvent{}, "viewer-event.schema.json", "", nil, nil},
		{Snapshot{}, "snapshot.schema.json", "", nil, nil},
		{Sync{}, "control.schema.json", "Sync", []string{"type"}, nil},
		{Heartbeat{}, "control.schema.json", "Heartbeat", []string{"type"}, nil},
		{Goodbye{}, "control.schema.json", "Goodbye", []string{"type"}, nil},
		{Unreadable{}, "control.schema.json", "Unreadable", []string{"type"}, nil},
		{StreamError{}, "control.schema.json", "Refusal", []string{"type"}, nil},
		{reflect.New(data.Type).Elem().Interface(), "control.schema.json", "ErrorData", nil, nil},
		{NewRun{}, "openapi.json", "CreateRunParams", nil, nil},
		{Published{}, "openapi.json", "Published", nil, nil},
		{Page{}, "openapi.json", "Events", nil, []string{"testId", "stale", "after", "ended"}},
	} {
		found := map[string]bool{}
		jsonFields(reflect.TypeOf(each.message), found)
		expected := slices.DeleteFunc(schemaFields(t, each.file, each.definition), func(name string) bool {
			return slices.Contains(each.without, name)
		})
		for _, name := range each.added {
			delete(found, name)
		}
		if !slices.Equal(sorted(found), expected) {
			t.Errorf("%T has %v, and %s %s has %v", each.message, sorted(found), each.file, each.definition, expected)
		}
	}
}
