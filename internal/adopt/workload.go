package adopt

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/adopt/compose"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// needs are the services of the Compose file that this one needs and that are not built here, with those that they need.
func (s *Service) needs(r *Repository) []compose.Service {
	if s.Compose == nil {
		return nil
	}
	wanted := slices.Clone(s.Compose.Needs)
	for i := 0; i < len(wanted); i++ { // it grows
		for _, c := range r.Compose {
			if c.Project == s.Compose.Project && c.Name == wanted[i] && (c.Build == nil || slices.Contains(s.others, c.Name)) {
				wanted = append(wanted, slices.DeleteFunc(slices.Clone(c.Needs), func(n string) bool { return slices.Contains(wanted, n) })...)
			}
		}
	}
	var needed []compose.Service
	for _, c := range r.Compose {
		if c.Project == s.Compose.Project && slices.Contains(wanted, c.Name) && c.Build == nil && c.Image != "" {
			needed = append(needed, c)
		}
	}
	return needed
}

// newWorkload is a Deployment that is proposed, with a Service in front of it.
type newWorkload struct {
	name  string
	host  string // the name of the Service
	image string
	ports []string
	// of is what the Compose file says; its zero value says nothing.
	of compose.Service
	// own reports that the image is built here: what it runs and what files it needs is in the image.
	own bool
}

// newManifests are a kustomization with the service and what it needs that no other service of the repository has already. They
// will be in the directory dir.
func (s *Service) newManifests(r *Repository, dir string) []File {
	w := newWorkload{name: s.Name, host: hostOf(s.Name), image: s.Image, ports: s.Ports, own: true}
	if s.Compose != nil {
		w.host, w.of = hostOf(s.Compose.Name), *s.Compose // others call it so
	}
	if len(w.ports) == 0 {
		port, from := s.likelyPort()
		w.ports = []string{port}
		r.notice("%s exposes no port: the Service is proposed with %s%s", s.file.Path, port, from)
	}
	if len(s.others) > 0 {
		r.notice("%s also runs the image of %s as %s: no Deployment of that is proposed", s.Compose.File, s.Name, strings.Join(s.others, ", "))
	}
	files, taken := []File{w.file(r, dir)}, map[string]bool{w.name: true}
	for _, n := range s.needs(r) {
		if strings.Contains(n.Image, "$") {
			r.notice("%s is needed by %s and is not proposed: its image %s has variables without a value", n, s.Name, n.Image)
			continue
		}
		key := n.File + ":" + n.Name
		if with := r.given[key]; with != nil {
			r.notice("%s uses the %s that is delivered with %s", s.Name, n.Name, with.Name)
			continue
		}
		if r.given == nil {
			r.given = map[string]*Service{}
		}
		r.given[key] = s
		w := newWorkload{name: label(n.Name), host: hostOf(n.Name), image: n.Image, ports: portsOf(n), of: n}
		for number := 2; taken[w.name]; number++ { // the service has that name, or two names became one
			w.name = fmt.Sprintf("%s-%d", label(n.Name), number)
		}
		taken[w.name] = true
		files = append(files, w.file(r, dir))
	}
	return kustomization(files)
}

// hostOf is the name of the Service of what a Compose file calls so: a DNS label that begins with a letter.
func hostOf(name string) string {
	if host := label(name); host[0] >= 'a' {
		return host
	}
	return "app-" + label(name)
}

// scalar is a name as YAML has it: in quotes where it would be a number or a boolean without them.
func scalar(name string) string {
	text, err := yaml.Marshal(name)
	if err != nil {
		return name // a string always has a form
	}
	return strings.TrimSpace(string(text))
}

// usualPorts are the ports of images that Compose files name mostly without them, by the last part of their repositories, or the
// last two.
var usualPorts = map[string]string{
	"postgres": "5432", "postgis": "5432", "postgresql": "5432", "pgvector": "5432", "timescaledb": "5432", "mysql": "3306", "mariadb": "3306",
	"mssql/server": "1433", "azure-sql-edge": "1433", "mongo": "27017", "mongodb": "27017", "redis": "6379", "valkey": "6379", "redis-stack-server": "6379",
	"memcached": "11211", "rabbitmq": "5672", "nats": "4222", "zookeeper": "2181", "kafka": "9092", "cassandra": "9042", "elasticsearch": "9200",
	"opensearch": "9200", "minio": "9000", "mailhog": "1025", "mailpit": "1025", "maildev": "1025", "azurite": "10000", "clickhouse-server": "8123",
	"influxdb": "8086", "couchdb": "5984", "neo4j": "7687", "meilisearch": "7700", "etcd": "2379", "consul": "8500", "vault": "8200",
}

// portsOf are the ports of a service of a Compose file. Containers there reach each other's ports whether the file names them or not.
func portsOf(c compose.Service) []string {
	name := strings.ToLower(ref.Read(c.Image).Repository)
	usual := cmp.Or(usualPorts[path.Base(name)], usualPorts[path.Join(path.Base(path.Dir(name)), path.Base(name))])
	if usual == "" {
		return c.Ports
	}
	return distinctStrings(append([]string{usual}, c.Ports...))
}

// file is the manifest of the workload.
func (w newWorkload) file(r *Repository, dir string) File {
	file := path.Join(dir, w.name+".yaml")
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  labels: {app: %[1]s}
spec:
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      containers:
      - name: %[1]s
        image: %[2]s
`, scalar(w.name), scalar(w.image))
	if !w.own && len(w.of.Entrypoint) > 0 {
		fmt.Fprintf(&b, "        command: [%s]\n", quoted(w.of.Entrypoint))
	}
	if !w.own && len(w.of.Command) > 0 {
		fmt.Fprintf(&b, "        args: [%s]\n", quoted(w.of.Command))
	}
	w.env(&b, r, file)
	w.leftOut(r, file)
	if len(w.ports) > 0 {
		w.reachable(&b)
	} else {
		r.notice("%s names no port of %s, and no Service is proposed: add one where others reach it", w.of.File, w.name)
	}
	return File{Path: w.name + ".yaml", Content: b.String()}
}

// env writes the variables of the workload. Those that are secrets, and those without a value, are noticed.
func (w newWorkload) env(b *strings.Builder, r *Repository, file string) {
	var secret, local, variables []string
	for _, name := range slices.Sorted(maps.Keys(w.of.Env)) {
		switch value := w.of.Env[name]; {
		case isSecret(name) || withPassword.MatchString(value):
			secret = append(secret, name)
		case w.own && developers.MatchString(value):
			local = append(local, name+"="+value)
		default:
			variables = append(variables, fmt.Sprintf("        - {name: %s, value: %q}\n", name, value))
		}
	}
	if len(local) > 0 {
		r.notice("%s gets no %s, which is for a developer's machine: write the value for the cluster into %s, if it needs one", w.name, strings.Join(local, ", "), file)
	}
	unset := slices.DeleteFunc(slices.Clone(w.of.Unset), func(name string) bool {
		if isSecret(name) {
			secret = append(secret, name)
			return true
		}
		return false
	})
	if len(secret) > 0 {
		r.notice("%s gets no %s: put it into a Secret, and name that in %s", w.name, strings.Join(distinctStrings(secret), ", "), file)
	}
	if len(unset) > 0 {
		r.notice("%s gets no %s: %s takes the value from elsewhere; write it into %s", w.name, strings.Join(unset, ", "), w.of.File, file)
	}
	w.hosts(r, file)
	if len(variables) > 0 {
		b.WriteString("        env:\n" + strings.Join(variables, ""))
	}
}

// hostVariable matches variables that say where something is, and hostValue values that do.
var (
	hostVariable = regexp.MustCompile(`(?i)host|ur[il]|addr|server|endpoint|broker|dsn|(^|_)(db|redis|cache|queue)$`)
	hostValue    = regexp.MustCompile(`://|^[\w.-]+:[0-9]+`)
)

// hosts notices names of hosts that the Compose file has and the cluster will not have.
func (w newWorkload) hosts(r *Repository, file string) {
	if w.of.Name != "" && w.host != w.of.Name {
		r.notice("%s is reached as %s in %s, which cannot be the name of a Service: in %s it is %s; write that where its host is named", w.name, w.of.Name, w.of.File, file, w.host)
	}
	services, aliases := map[string]bool{}, map[string]string{}
	for _, c := range r.Compose {
		if c.Project == w.of.Project {
			services[c.Name] = true
			maps.Copy(aliases, c.Aliases)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.of.Env)) {
		if !hostVariable.MatchString(name) && !hostValue.MatchString(w.of.Env[name]) {
			continue // a user, a database or the like may have the name, too
		}
		said := saying{values: map[string]bool{}, hosts: map[string]bool{}}
		said.note(w.of.Env[name])
		for _, host := range slices.Sorted(maps.Keys(said.hosts)) {
			if of := aliases[host]; services[of] && !services[host] && hostOf(of) != host {
				r.notice("%s of %s names the host %s, which is %s in %s: its Service is called %s; write that into %s", name, w.name, host, of, w.of.File, hostOf(of), file)
			}
		}
	}
}

// withPassword matches an address that logs in.
var withPassword = regexp.MustCompile(`://[^/\s:@]*:[^/\s@]+@`)

// leftOut notices what the Compose file gives to the workload and the manifests do not.
func (w newWorkload) leftOut(r *Repository, file string) {
	if len(w.of.EnvFiles) > 0 {
		r.notice("%s takes variables from %s in %s: write those that it needs into %s, and secrets into a Secret", w.name, strings.Join(w.of.EnvFiles, ", "), w.of.File, file)
	}
	if started := slices.Concat(w.of.Entrypoint, w.of.Command); w.own && len(started) > 0 {
		r.notice("%s is started in %s with %q: %s starts what the image starts; name another command there (args)", w.name, w.of.File, strings.Join(started, " "), file)
	}
	if len(w.of.Data) > 0 {
		r.notice("%s has a volume in %s at %s, and none in %s: what it writes there is lost with its pod; add a PersistentVolumeClaim, or use a service of the cloud", w.name, w.of.File, strings.Join(w.of.Data, ", "), file)
	}
	mounts := slices.DeleteFunc(slices.Clone(w.of.Mounts), func(name string) bool { return w.own && !r.isFile(name) || !r.exists(name) })
	if len(mounts) > 0 {
		r.notice("%s has %s in its container in %s: put what it needs of it into a ConfigMap, and name that in %s", w.name, strings.Join(mounts, ", "), w.of.File, file)
	}
}

// reachable writes the ports, the probes of the first one, and the Service.
func (w newWorkload) reachable(b *strings.Builder) {
	b.WriteString("        ports:\n")
	for _, port := range w.ports {
		fmt.Fprintf(b, "        - containerPort: %s\n", port)
	}
	fmt.Fprintf(b, `        startupProbe: # a minute to start, and ready a second after it
          tcpSocket: {port: %[2]s}
          periodSeconds: 1
          failureThreshold: 60
        readinessProbe:
          tcpSocket: {port: %[2]s}
---
apiVersion: v1
kind: Service
metadata:
  name: %[3]s
spec:
  selector: {app: %[1]s}
  ports:
`, scalar(w.name), w.ports[0], scalar(w.host))
	if len(w.ports) == 1 {
		fmt.Fprintf(b, "  - {port: %s}\n", w.ports[0])
		return
	}
	for _, port := range w.ports {
		fmt.Fprintf(b, "  - {name: port-%[1]s, port: %[1]s}\n", port)
	}
}
