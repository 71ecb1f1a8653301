package render

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// randomFunctions are the template functions whose result is another one at each call. bcrypt, htpasswd and encryptAES
// are among them for their salt.
var randomFunctions = []string{
	"randAlphaNum", "randAlpha", "randAscii", "randNumeric", "randBytes", "randInt", "shuffle", "uuidv4",
	"bcrypt", "htpasswd", "encryptAES",
	"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey",
}

// call is one call of a random function: its name, its arguments without certificates, and the text that it returned. A
// certificate is two texts: the certificate and its key.
type call struct {
	name, args string
	texts      []string
}

// sequence is the random functions and the clock as one run of the templates sees them. Templates run in a fixed order,
// so the place of a call in the sequence says which call it is.
type sequence struct {
	calls []call
	// twins are calls that shall return the same: the place of a call, and the place of the one that it repeats.
	twins map[int]int
	made  map[int]call // by the place of the repeated one
	// known are results that calls shall return again, by the place of the call. trusted means without a check.
	known   map[int]call
	trusted bool
	// other are the calls of an earlier run, whose results must not come again.
	other []call
	// forget is the place of a certificate authority that is known without its key, and that has to sign something.
	forget int

	now   time.Time
	clock bool // reports that the templates asked for the time
}

func newSequence(now time.Time) *sequence {
	return &sequence{now: now, forget: -1, made: map[int]call{}}
}

// repeat is a sequence in which every call returns what it returned in s.
func (s *sequence) repeat(now time.Time) *sequence {
	again := newSequence(now)
	again.known, again.trusted = map[int]call{}, true
	for place, c := range s.calls {
		again.known[place] = c
	}
	return again
}

// functions are the template functions of this run.
func (s *sequence) functions() map[string]any {
	all := sprig.TxtFuncMap()
	functions := map[string]any{"now": func() time.Time {
		s.clock = true
		return s.now
	}}
	for _, name := range randomFunctions {
		original := reflect.ValueOf(all[name])
		functions[name] = reflect.MakeFunc(original.Type(), func(args []reflect.Value) []reflect.Value {
			return s.call(name, original, args)
		}).Interface()
	}
	return functions
}

// errLostKey ends a run of the templates; sequence.forget says why.
var errLostKey = errors.New("the key of a certificate authority is not in the cluster")

func (s *sequence) call(name string, original reflect.Value, args []reflect.Value) []reflect.Value {
	place := len(s.calls)
	origin := place
	if repeated, ok := s.twins[place]; ok {
		origin = repeated
	}
	for _, from := range []map[int]call{s.made, s.known} {
		if c, ok := from[origin]; ok && c.name == name && (s.trusted || couldReturn(name, args, c.texts)) {
			s.calls, s.made[origin] = append(s.calls, c), c
			return c.results(original.Type())
		}
	}
	if lost := s.lostAuthority(args); lost >= 0 {
		s.forget = lost
		results := make([]reflect.Value, original.Type().NumOut())
		for i := range results {
			results[i] = reflect.Zero(original.Type().Out(i))
		}
		results[len(results)-1] = reflect.ValueOf(&errLostKey).Elem()
		return results
	}
	results := original.Call(args)
	// A small range has few values. The runs are compared, so the results must differ where they can.
	for range 100 {
		if place >= len(s.other) || s.other[place].name != name || !reflect.DeepEqual(s.other[place].texts, texts(results[0])) {
			break
		}
		results = original.Call(args)
	}
	c := call{name: name, args: plainArgs(args), texts: texts(results[0])}
	s.calls, s.made[origin] = append(s.calls, c), c
	return results
}

// plainArgs are the arguments of a call as text, without certificates.
func plainArgs(args []reflect.Value) string {
	text := ""
	for _, arg := range args {
		if arg.Kind() != reflect.Struct {
			text += fmt.Sprintf("%q ", fmt.Sprint(arg.Interface()))
		}
	}
	return text
}

// lostAuthority returns the place of the call that made the certificate authority among args when its key is not known,
// or -1.
func (s *sequence) lostAuthority(args []reflect.Value) int {
	for _, arg := range args {
		if arg.Kind() != reflect.Struct || arg.FieldByName("Key").String() != "" {
			continue
		}
		for place, c := range s.calls {
			if len(c.texts) == 2 && c.texts[0] == arg.FieldByName("Cert").String() {
				return place
			}
		}
	}
	return -1
}

// texts are the result of a random function as text.
func texts(result reflect.Value) []string {
	switch result.Kind() {
	case reflect.Struct:
		return []string{result.FieldByName("Cert").String(), result.FieldByName("Key").String()}
	case reflect.Int:
		return []string{strconv.FormatInt(result.Int(), 10)}
	default:
		return []string{result.String()}
	}
}

// results are the texts of a call as a function of type t returns them.
func (c call) results(t reflect.Type) []reflect.Value {
	results := make([]reflect.Value, t.NumOut())
	for i := range results {
		results[i] = reflect.New(t.Out(i)).Elem()
	}
	switch result := results[0]; result.Kind() {
	case reflect.Struct:
		result.FieldByName("Cert").SetString(c.texts[0])
		result.FieldByName("Key").SetString(c.texts[1])
	case reflect.Int:
		number, err := strconv.ParseInt(c.texts[0], 10, 64)
		if err == nil { // couldReturn has read it
			result.SetInt(number)
		}
	default:
		result.SetString(c.texts[0])
	}
	return results
}
