package gateway
import ("testing";"net";"time")
func TestZZ(t *testing.T){
 for i,c:=range []string{"open","subs"} { l,err:=net.Listen("tcp",[]string{"127.0.0.1:46101","127.0.0.1:46102"}[i]); if err!=nil{t.Fatal(err)}; go newGateway(t,c,nil).Serve(l) }
 time.Sleep(40*time.Second)
}
